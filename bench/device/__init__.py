"""Devices of rows: tensors of torch in the place of arrays of NumPy, and the exchange of them."""
