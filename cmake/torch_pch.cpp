// Owns the precompiled LibTorch header.
