"""LangSAMP on Megatron-Core: XLM-R's layer, the model with both tables, checkpoints, and data for its trainers.

Everything except reading and naming of checkpoints needs the extra ``megatron``; it is imported only on demand.
"""
