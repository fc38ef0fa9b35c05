"""What the work costs at least: floating-point operations, counted by hand from Table 1 of the paper.

A multiplication and an addition count as two. Only convolutions and dense layers are counted; what
activations, pooling, BatchNorm, dropout and the update of the weights cost comes on top of the floor.
"""


def _stage(pixels: int, channels: int, filters: int) -> tuple[int, ...]:
    """Of ResNet-18: two blocks, the first of them with a projection, which stands third."""
    first, projection, other = (pixels * filters * inputs for inputs in (9 * channels, channels, 9 * filters))
    return first, other, projection, other, other


# Multiplications of one image's forward pass, layer by layer, the first layer first:
# output height x width x channels x (kernel height x width x input channels).
FORWARD_PRODUCTS = {
    "stdcnn": (
        26 * 26 * 10 * (3 * 3 * 1),
        24 * 24 * 10 * (3 * 3 * 10),
        10 * 10 * 20 * (3 * 3 * 10),
        8 * 8 * 20 * (3 * 3 * 20),
        320 * 50,
        50 * 10,
    ),
    "m1": (
        24 * 24 * 20 * (5 * 5 * 1),
        20 * 20 * 20 * (5 * 5 * 20),
        8_000 * 500,
        500 * 10,
    ),
    "c1": (
        32 * 32 * 64 * (5 * 5 * 3),
        16 * 16 * 64 * (5 * 5 * 64),
        4_096 * 384,
        384 * 192,
        192 * 10,
    ),
    "resnet18": (
        32 * 32 * 64 * (3 * 3 * 3),
        *4 * (32 * 32 * 64 * (3 * 3 * 64),),
        *_stage(16 * 16, 64, 128),
        *_stage(8 * 8, 128, 256),
        *_stage(4 * 4, 256, 512),
        512 * 10,
    ),
}


CONVOLUTIONS = {"stdcnn": 4, "m1": 2, "c1": 2, "resnet18": 20}  # the first so many layers


def of_kernels(model: str) -> dict[str, int]:
    """FLOPs of one image in training, by the name of TensorFlow's kernel; dense gradients are one kind."""
    convolutions = FORWARD_PRODUCTS[model][: CONVOLUTIONS[model]]
    dense = FORWARD_PRODUCTS[model][CONVOLUTIONS[model] :]
    return {
        "FusedConv2D": 2 * sum(convolutions),
        "Conv2DBackpropInput": 2 * sum(convolutions[1:]),
        "Conv2DBackpropFilterWithBias": 2 * sum(convolutions),
        "FusedMatMul": 2 * sum(dense),
        "MatMul": 4 * sum(dense),
    }


def forward(model: str) -> int:
    """FLOPs of one image's logits."""
    return 2 * sum(FORWARD_PRODUCTS[model])


def training(model: str) -> int:
    """FLOPs of one image's forward pass and weight gradient; the image itself needs no gradient."""
    return 3 * forward(model) - 2 * FORWARD_PRODUCTS[model][0]


def input_gradient(model: str) -> int:
    """FLOPs of one image's forward pass and its gradient with respect to the image."""
    return 2 * forward(model)


def hessian_product(model: str) -> int:
    """FLOPs of one image's part in a Hessian-vector product.

    Per layer y = W x with the gradient g of y: y, W'g (2); their derivatives in the direction of
    the vector, each of two products, of which the first layer needs fewer, as its x is constant;
    and likewise for the gradient g x' of W.
    """
    first = 2 * FORWARD_PRODUCTS[model][0]
    others = forward(model) - first
    return 8 * others + 3 * first  # the first layer: y, its derivative, and that of g x'


def pgd(model: str, steps: int) -> int:
    """FLOPs of one image's PGD: as many gradients as steps, and the judgement of the last image."""
    return steps * input_gradient(model) + forward(model)
