"""Of two models that with the smaller loss."""
import json
import os
import shutil
import sys

*models, out = sys.argv[1:]
best = min(models, key=lambda model: json.load(open(os.path.join(model, "model.json")))["loss"])
shutil.copy(os.path.join(best, "model.json"), out)
print("chose", json.load(open(os.path.join(best, "model.json"))))
