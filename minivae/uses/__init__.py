"""What an autoencoder is good for. Each use is one function that returns numbers.

    probe               transfer: the accuracy of a classifier on the codes, with few labels and with many
    compression         the PSNR (peak signal-to-noise ratio) by dimension of the code
    denoising           the PSNR gained over the noisy images
    detect_anomalies    the AUROC (area under the ROC curve) of the reconstruction error, and a threshold for it
    segmental_snr, log_spectral_distance    how near sounds are to others; mu_law and mu_law_at, what they compare with

Each function takes any object that has the method it needs: transform(x), reconstruct(x) or score_samples(x). PCA has
all three. It is the best linear autoencoder and needs no training, so it is the baseline of every use.
"""

from .anomaly import AnomalySplit, Detection, anomaly_split, detect_anomalies
from .compression import CompressionRow, compression
from .denoising import Denoising, denoising
from .metrics import psnr, roc_auc, squared_error
from .pca import PCA
from .probe import LogisticRegression, ProbeRow, probe
from .speech import log_spectral_distance, mu_law, mu_law_at, segmental_snr

__all__ = [
    "PCA",
    "AnomalySplit",
    "CompressionRow",
    "Denoising",
    "Detection",
    "LogisticRegression",
    "ProbeRow",
    "anomaly_split",
    "compression",
    "denoising",
    "detect_anomalies",
    "log_spectral_distance",
    "mu_law",
    "mu_law_at",
    "probe",
    "psnr",
    "roc_auc",
    "segmental_snr",
    "squared_error",
]
