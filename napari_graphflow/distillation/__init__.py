"""The distillation methods: losses as pure functions, one folder per paper."""
