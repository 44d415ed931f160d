"""The subcommands of ``langsamp``, one file per part of the way."""
