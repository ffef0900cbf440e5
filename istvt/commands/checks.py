"""`istvt checks`: find out what this machine has and what works on it."""

from dataclasses import asdict

from istvt.commands.output import JsonOption, Output


def checks(json: JsonOption = None) -> int:
    """Show what this machine has, what works, and how to fix the rest."""
    from istvt.checks import exit_code, format_checks, run_checks

    output = Output(json)
    results = run_checks()
    output.say(format_checks(results))
    output.write([asdict(check) for check in results])
    return exit_code(results)
