"""SafeMLRM: how safe is a multimodal reasoning model, and what did it lose by learning to reason?"""
