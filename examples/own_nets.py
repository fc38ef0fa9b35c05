"""A network of one's own: `model: own_nets:small` in the config beside this file."""

import keras


def small(image_shape, classes):
    """One convolution and one hidden layer.

    Args:
        image_shape: (height, width, channels) of the data set that the config names.
        classes: how many logits to return, one a class.

    Returns:
        A functional `keras.Model`: float32 images in [0, 1] to logits. No softmax: the loss, the
        attacks and the Hessian work on logits.
    """
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(32, activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(classes)(x))
