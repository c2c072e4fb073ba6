"""The workflow of 2018 from the script to the registered model, with the tutorial's own blocks for the compute."""
from azureml.core import Experiment, ScriptRunConfig, Workspace
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.runconfig import RunConfiguration

ws = Workspace.from_config()
exp = Experiment(ws, "diabetes-2018")
script_folder = "examples/seed-v1/project"  # step 1: project/train.py

# Step 2: a compute target, found or created.
# --- from here on as the tutorial has it ---
from azureml.core.compute import BatchAiCompute
from azureml.core.compute import ComputeTarget

# choose a name for your cluster
batchai_cluster_name = ws.name + "cpu"

found = False
# see if this compute target already exists in the workspace
for ct in ws.compute_targets():
    print(ct.name, ct.type)
    if (ct.name == batchai_cluster_name and ct.type == 'BatchAI'):
        found = True
        print('found compute target. just use it.')
        compute_target = ct
        break
        
if not found:
    print('creating a new compute target...')
    provisioning_config = BatchAiCompute.provisioning_configuration(vm_size = "STANDARD_D2_V2", # for GPU, use "STANDARD_NC6"
                                                                #vm_priority = 'lowpriority', # optional
                                                                autoscale_enabled = True,
                                                                cluster_min_nodes = 1, 
                                                                cluster_max_nodes = 4)

    # create the cluster
    compute_target = ComputeTarget.create(ws,batchai_cluster_name, provisioning_config)
    
    # can poll for a minimum number of nodes and for a specific timeout. 
    # if no min node count is provided it will use the scale settings for the cluster
    compute_target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    
     # For a more detailed view of current BatchAI cluster status, use the 'status' property    
    print(compute_target.status.serialize())
# --- until here ---

# Step 3: the script on this machine first, then with other parameters on the cluster, unchanged.
run_config = RunConfiguration()
run_config.environment.python.conda_dependencies = CondaDependencies.create(conda_packages=["scikit-learn"], pip_packages=["joblib"])
run = exp.submit(ScriptRunConfig(script_folder, "train.py", run_config=run_config))
run.wait_for_completion(show_output=True)

run_config.target = compute_target
runs = [exp.submit(ScriptRunConfig(script_folder, "train.py", arguments=["--alpha", alpha], run_config=run_config))
        for alpha in (0.03, 0.3)]

# Step 4: the best of all.
for one in runs:
    one.wait_for_completion()
best = min([run, *runs], key=lambda one: one.get_metrics()["mse"])
print("the best has", best.get_metrics(), "and wrote", [name for name in best.get_file_names() if name.startswith("outputs/")])

# Step 5: its model in the registry.
model = best.register_model("diabetes-ridge", "outputs/ridge.joblib")
print("registered", model.name, "of run", model.run_id)
