"""What runs over whole files: bulk results, data sets, alignment, evaluation, training."""
