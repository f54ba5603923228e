"""Attribution graphs of prompts: what was traced, what of it holds, and the form in which it leaves."""
