"""Where the tensors of a checkpoint file lie: one module per format, one table for all."""
