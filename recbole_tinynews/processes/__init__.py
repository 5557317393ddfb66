"""Distributed training, started by torchrun or by ``--nproc``."""
