"""What writes text with a trained model: ours in torch, or CTranslate2 over files converted from the same weights."""
