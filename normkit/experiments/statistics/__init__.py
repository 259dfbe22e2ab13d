"""What runs show: intervals, tests, verdicts and measured benefits."""
