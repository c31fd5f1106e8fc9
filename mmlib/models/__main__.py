"""python -m mmlib.models: the table of systems."""

from mmlib.models.overview import table

if __name__ == "__main__":
    print(table().to_string())
