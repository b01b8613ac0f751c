"""Write the golden sources again, and say which have changed."""

from . import ALL, generate, path

for name in ALL:
    target, text = path(name), generate(name)
    changed = not target.exists() or target.read_text(encoding="utf-8") != text
    target.write_text(text, encoding="utf-8")
    print(f"{target.name}: {'changed' if changed else 'as before'}")
