"""stub"""


def print_diff(x):
    print(x)


def print_report(x):
    print(x)


def print_sweep(x):
    print(x)
