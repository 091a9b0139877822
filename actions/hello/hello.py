"""The smallest action: plain Python, no model. Any OpenWhisk runs it."""


def main(args):
    name = args.get("name", "stranger")
    print(f"greeting {name}")  # goes to the activation's log
    return {"greeting": f"Hello, {name}!"}
