"""`python -m safemlrm`"""

from safemlrm.cli import main

if __name__ == "__main__":
    main()
