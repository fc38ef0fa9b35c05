"""The package first: it sets what TensorFlow reads when it is imported, and conftest imports that before it."""

import tfsgd  # noqa: F401
