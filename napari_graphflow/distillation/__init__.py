"""The distillation methods: a formula first, a folder a paper."""
