"""LangSAMP on Megatron-Core: XLM-R's layer, the model with both tables, checkpoints, and our data for its trainers.

Everything here but reading and naming of checkpoints needs the extra ``megatron``; nothing outside imports it unasked.
"""
