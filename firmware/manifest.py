# Freeze the library into a firmware: include("path/to/dormouse/firmware/manifest.py") from your
# board's manifest. Frozen code takes no heap and starts at once. What you leave out, costs nothing:
# each folder of dormouse/ is a part for itself.
# https://docs.micropython.org/en/latest/reference/manifest.html
import os

package(
    "dormouse",
    files=[
        os.path.join(folder, name)[len("dormouse/") :]
        for folder, _, names in sorted(os.walk("dormouse"))
        for name in sorted(names)
        if name.endswith(".py") and name != "_host.py"
    ],
    opt=3,
)
