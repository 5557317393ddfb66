"""Several processes that train one recommender, started by torchrun or by ``--nproc``."""
