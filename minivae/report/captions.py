"""What each model is, what each picture and sound of a run shows, and how to read it."""

from __future__ import annotations

# By the name of the command that trains it.
ABOUT = {
    "ae": "An autoencoder: an encoder turns an image into a short code, a decoder turns the code back into the image.",
    "dae": "A denoising autoencoder: it sees images with noise and learns to give them back without.",
    "sae": "A sparse autoencoder: its codes are long, but nearly all numbers of each are 0.",
    "cae": "A contractive autoencoder: its codes are made to move little when the image does.",
    "vae": "A variational autoencoder: its code is a distribution over latents, so that new images can be drawn.",
    "cvae": "A conditional variational autoencoder: it is told the label, and draws new images of a class of choice.",
    "btcvae": "A beta-TC-VAE: a variational autoencoder whose latents are to be independent of each other.",
    "vaegan": "A VAE-GAN: a variational autoencoder whose images are also to deceive a discriminator.",
    "vqvae": "A VQ-VAE: its code is a map of entries of a codebook; a prior over such maps draws new images.",
    "vqgan": "A VQGAN: a VQ-VAE whose images are also to deceive a discriminator.",
    "vqvae2": "A VQ-VAE-2: a map of codes for the whole of an image and another one for its details.",
    "vqvae1d": "A VQ-VAE of sounds: a waveform becomes a sequence of entries of a codebook.",
    "vqvae-video": "A VQ-VAE of video: each clip becomes a block of entries of a codebook, in time and space.",
    "prior": "The prior of the codes: it learns which maps of codes occur, code after code, and draws new ones.",
    "anomaly": "Autoencoders of some classes: what they reconstruct badly is taken for an image of another class.",
    "compress-curve": "Autoencoders with codes of several lengths, compared with PCA of as many components.",
}

# By the name of the file without its suffix, in the order of the page: the title, and how to read it. {seen} is the
# name of the images that are not trained on.
CAPTIONS = {
    "training": (
        "Course of the training",
        "Each term of the loss by epoch, on the training images and on {seen} images. Both should fall and come to "
        "rest. A {seen} curve that turns upwards while the other one falls is overfitting, a curve that still falls "
        "at the end asks for more epochs, and jumps upwards for a lower learning rate.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Test images, clips or sounds, and what the model makes of them: encoded and decoded again. What is lost, "
        "fine lines and texture first, is what the code has no room for.",
    ),
    "continuation": (
        "Continued clips",
        "Test clips, and clips that begin with the same frames and go on as the prior draws them. There is more than "
        "one way to go on; look whether things keep their shape and their course.",
    ),
    "samples": (
        "Samples",
        "Drawn from the prior and decoded; none of them is in the data. Look whether they are whole, whether they "
        "vary as the data do, and whether any is a mixture of two things.",
    ),
    "analogies": (
        "Analogies",
        "In the first column a test image of each class; to its right its latents decoded as every class. Along a row "
        "the style should stay and the class change; on the diagonal is the image's own class.",
    ),
    "traversal": (
        "Traversal of the latents",
        "In each row one latent moves from low to high while the others stay. A row whose images are all the same is "
        "a latent that is not used; the rows are sorted by their KL, the most important first.",
    ),
    "interpolation": (
        "From image to image",
        "Each row walks through the latents from the test image at one end to that at the other. Every image on the "
        "way should be one that could be real; a mere cross-fade says that the latents are not smooth.",
    ),
    "manifold": (
        "The plane of the latents",
        "The decoded images of a grid over the two latents, spaced such that the prior makes all of them equally "
        "likely. Neighbours should be alike, and each kind of image have a region.",
    ),
    "latent": (
        "Codes of the test images",
        "Each point is a test image, its colour the class; more than two numbers are shown by their two principal "
        "components. Classes in clouds of their own were told apart without labels; an overlap may be of this view "
        "only.",
    ),
    "atoms": (
        "Atoms",
        "What each latent adds to an image: grey is nothing, white is brighter, black is darker. Strokes and parts of "
        "things are what is hoped for; noise is a latent that has learned nothing.",
    ),
    "denoised": (
        "Denoising",
        "Test images, the same with noise, and what the model makes of these. It cannot know what the noise has "
        "covered: blurred details are guesses.",
    ),
    "factors": (
        "Latents and factors",
        "In each row one latent moves. Where the latents are disentangled a row changes one property of the shape, "
        "and no other row changes it.",
    ),
    "information": (
        "Information on the factors",
        "How much each latent tells about each factor of the data. One large value in a row and in a column is a "
        "latent that stands for one factor.",
    ),
    "codes": (
        "Use of the codes",
        "How often each code occurs in the test images, the most frequent first. A flat curve uses the codebook "
        "evenly; codes at 0 are dead.",
    ),
    "codes_top": (
        "Use of the top codes",
        "How often each code of the top occurs in the test images, the most frequent first; codes at 0 are dead.",
    ),
    "codes_bottom": (
        "Use of the bottom codes",
        "How often each code of the bottom occurs in the test images, the most frequent first; codes at 0 are dead.",
    ),
    "stages": (
        "Stage by stage",
        "Test images, and below them what is decoded from the first stage of their codes, the first two, and so on. "
        "Each stage should add what those above it lack.",
    ),
    "levels": (
        "What each level holds",
        "Test images, their reconstructions from both levels, and from one while the other is at its mean code. What "
        "is missing without a level is what that level holds.",
    ),
    "voices": (
        "One segment in all voices",
        "A test segment decoded as each speaker. What stays is in the codes, what changes is in the voice.",
    ),
    "anomalies": (
        "The strangest images",
        "The test images that are reconstructed worst, each with its score and class, the worst first. Those of "
        "classes that were not trained on should come before the others.",
    ),
    "compression": (
        "PSNR over the length of the code",
        "How well test images come back from codes of each length, higher is better, beside PCA of as many "
        "components. Above PCA's line the model has found more than linear structure.",
    ),
}
