"""The subcommands of ``langsamp``, one file per topic."""
