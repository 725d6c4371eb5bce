"""What an autoencoder is good for, each use as one call that returns numbers.

    probe               transfer: how good a classifier on the codes is, with few labels and with many
    compression         PSNR over the dimension of the code
    denoising           PSNR gained over the noisy images
    detect_anomalies    AUROC of the reconstruction error, and a threshold for it

Each takes any object with the method that it needs: transform(x), reconstruct(x) or score_samples(x). PCA has all
three: it is the autoencoder that one gets without training, and the baseline of every use.
"""

from .anomaly import AnomalySplit, Detection, anomaly_split, detect_anomalies
from .compression import CompressionRow, compression
from .denoising import Denoising, denoising
from .metrics import psnr, roc_auc, squared_error
from .pca import PCA
from .probe import LogisticRegression, ProbeRow, probe

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
    "probe",
    "psnr",
    "roc_auc",
    "squared_error",
]
