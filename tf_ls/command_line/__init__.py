"""The command tf-ls. Each subcommand is a module with `add_parser`; see main.py."""
