"""What an autoencoder is good for. Each use is one function that returns numbers.

    probe               transfer: the accuracy of a classifier on the codes, with few labels and with many
    compression         the PSNR (peak signal-to-noise ratio) by dimension of the code
    denoising           the PSNR gained over the noisy images
    pack_codes          images in few bytes: the codes of a VQ-VAE, entropy-coded under its prior; unpack_codes
    image_formats       what PNG, JPEG and WebP make of the same images
    detect_anomalies    the AUROC (area under the ROC curve) of the reconstruction error, and a threshold for it
    segmental_snr, log_spectral_distance    how near sounds are to others; mu_law and mu_law_at, what they compare with
    disentanglement     MIG and SAP: does each factor that images were drawn from have a latent of its own?
    SpeakerJudge, nearest_distance          who speaks in sounds that were drawn, and how far they are from the data
    WholenessJudge      the share of samples that show one whole thing, by a classifier that knows torn ones too
    realism             how sharp samples are, and a Frechet distance to the data; sharpness, frechet_distance

Each function takes any object that has the method it needs: transform(x), reconstruct(x) or score_samples(x). PCA has
all three. It is the best linear autoencoder and needs no training, so it is the baseline of every use. The judge takes
images.
"""

from .anomaly import AnomalySplit, Detection, anomaly_split, detect_anomalies
from .code_files import Unpacked, pack_codes, unpack_codes
from .compression import CompressionRow, compression
from .denoising import Denoising, denoising
from .disentanglement import Disentanglement, disentanglement, latent_codes
from .image_formats import FormatRow, image_formats
from .metrics import psnr, roc_auc, squared_error
from .pca import PCA
from .probe import LogisticRegression, ProbeRow, probe
from .realism import Realism, frechet_distance, realism, sharpness
from .speech import log_spectral_distance, mu_law, mu_law_at, segmental_snr
from .voices import SpeakerJudge, nearest_distance
from .wholeness import Wholeness, WholenessJudge

__all__ = [
    "PCA",
    "AnomalySplit",
    "CompressionRow",
    "Denoising",
    "Detection",
    "Disentanglement",
    "FormatRow",
    "LogisticRegression",
    "ProbeRow",
    "Realism",
    "SpeakerJudge",
    "Unpacked",
    "Wholeness",
    "WholenessJudge",
    "anomaly_split",
    "compression",
    "denoising",
    "detect_anomalies",
    "disentanglement",
    "frechet_distance",
    "image_formats",
    "latent_codes",
    "log_spectral_distance",
    "mu_law",
    "mu_law_at",
    "nearest_distance",
    "pack_codes",
    "probe",
    "psnr",
    "realism",
    "roc_auc",
    "segmental_snr",
    "sharpness",
    "squared_error",
    "unpack_codes",
]
