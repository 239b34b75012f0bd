"""Names that several options choose from."""

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
MASK_KINDS = ("auto", "binary-255", "binary-01", "binary", "index")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
