//! One lightweight process in front of many LLM providers.
