"""Readers of others' formats.

Bytes become JSON values (`containers`), those become chats and records (`chat`, `agents`, `rows`), those examples (`reader`).
"""
