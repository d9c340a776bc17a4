def apply_reduction(losses, reduction="none"):
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()
