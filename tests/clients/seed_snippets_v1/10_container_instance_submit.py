from azureml.core.script_run_config import ScriptRunConfig

script_run_config = ScriptRunConfig(source_directory = script_folder,
                                    script= 'train.py',
                                    run_config = run_config)

run = experiment.submit(script_run_config)
