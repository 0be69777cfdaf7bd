"""Published formulas that several parts use: tensors in, tensors out.

That of token merging (ToMe) is an operation: `longvid.ops.match`, in plain torch in
`ops/reference.py`, in C++ and CUDA in `cuda_ops/*/match.*`.
"""
