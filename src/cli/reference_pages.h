// Pages of the reference that are no table of options.
#pragma once

namespace turnout::cli {

inline constexpr const char* kCauses = R"(# Distributions of a search space

`search_space: {lr: {type: loguniform, min_value: -5, max_value: 0}}`. The values of the `log` ones are powers of
e, or of `logbase` of the sampling algorithm: what is given are the exponents, so that this is from e^-5 = 0.0067
to e^0 = 1. `q` rounds to its multiples.

| type | keys | values |
|---|---|---|
| `choice` | `values` | One of a list: texts, numbers, booleans, or mappings of several parameters. The only one for `grid`. |
| `randint` | `upper` | A whole number from 0 to upper - 1. |
| `uniform` | `min_value`, `max_value` | Between the two, each as likely. |
| `quniform` | `min_value`, `max_value`, `q` | The same, rounded. |
| `loguniform` | `min_value`, `max_value` | exp(min_value) to exp(max_value), each order of magnitude as likely. |
| `qloguniform` | `min_value`, `max_value`, `q` | The same, rounded. |
| `normal` | `mu`, `sigma` | Around mu, with standard deviation sigma. |
| `qnormal` | `mu`, `sigma`, `q` | The same, rounded. |
| `lognormal` | `mu`, `sigma` | exp of such a value. |
| `qlognormal` | `mu`, `sigma`, `q` | The same, rounded. |

# Slots, clusters and priorities

A slot is the room for one node. The default pool, this machine, has as many as it has cores, at least 2; `turnout
up --slots N` gives it another number. There may be more pools (`pools.yaml`, see the page on operating): the
`location` of a cluster names one, and each has slots of its own. A node holds one slot from its start until it has left, whatever its size.

`queue_settings.priority` orders the jobs that wait for the same cluster. Clusters share the slots of the pool
fairly, whatever their jobs' priorities: when a slot becomes free, a cluster that has fewer nodes than another may
get it first. Only dedicated clusters go before `low_priority` ones, whose nodes give way to them.

# What a download holds

`turnout job download NAME` writes `artifacts/` (logs, and what the job left in `outputs/`), and with `--all`
`named-outputs/OUTPUT/`. `artifacts/retries/N/` has the logs of attempt N when the job began anew after it, because
its node was lost or had to give way; the logs outside are those of the last attempt.

# Why a job ended

A job that did not go well has exactly one of these causes: `turnout job show` and `job list` show it, the
API has it as the property `turnout.cause`, and `turnout job explain` tells it of every attempt.

| cause | meaning | tried again by itself |
|---|---|---|
| `user_code` | The command ended with an exit code other than 0, or by a signal; or what it left as outputs cannot be stored. | no |
| `out_of_memory` | It needed more memory than its node has for it; the peak is told. | no |
| `too_many_processes` | It had more than 4,096 processes on a node: one that forks without end. | no |
| `timeout` | It ran longer than its `limits.timeout`. | no |
| `canceled` | Somebody canceled it, or its compute was deleted. | no |
| `preempted` | Its low-priority node had to give way to a dedicated cluster. | yes, without limit |
| `node_lost` | Its node ended, its processes were killed, or it could not be reached for hours. | yes, 3 attempts in all |
| `environment` | Its environment could not be prepared; the build log says why. | no |
| `input` | An input or its code could not be fetched. | no |
| `internal` | Turnout itself failed. | yes, 3 attempts in all |

# Where the time of a job goes

`turnout job ledger JOB` books every microsecond from submission to end to one of these; they add up exactly.

| entry | meaning |
|---|---|
| `queue` | It waited for its turn. |
| `quota` | It waited because the pool had no free slot. |
| `node_start` | A node was starting. |
| `snapshot`, `environment`, `inputs` | The node fetched its code, prepared its environment, fetched its inputs. |
| `user_code` | Its command ran. |
| `outputs` | Outputs and logs were stored. |
| `retry`, `preempted` | All of the attempts that did not count, and the wait for the next one. |

`turnout compute ledger NAME` and `turnout job ledger --experiment NAME` are sums over jobs that have ended. A
compute costs what its nodes live, times the tag `turnout.price_per_hour`; an experiment costs what its jobs
use of them.

# Routes that Azure does not have

Beneath the path of the workspace, with a user's token:

| route | gives |
|---|---|
| `GET /jobs/{name}/explain` | Why it waits, node by node, and what would start it now; its attempts. |
| `GET /jobs/{name}/reuse?against=` | Of a pipeline or a step of one: which steps were not run since an earlier one had given the same, and in what the others differ. |
| `GET /jobs/{name}/ledger` | Its time in exact microseconds; of a sweep also the sums over its trials that have ended. |
| `GET /computes/{name}/ledger`, `GET /experiments/{name}/ledger` | Sums, node time by tier, idle time, cost. |
| `GET /events` | What happened: `after` (id of an event), `limit`, `wait` (seconds), `job`, `compute`, `kind`. |
| `POST /jobs/{name}/drill` | `{"kind": NAME, "seconds": N}`: harm on purpose; `GET /turnout/pools/{name}/drills` lists what there is. |

Of the server itself:

| route | does |
|---|---|
| `GET /turnout/slots`, `PUT /turnout/slots` | How many nodes the pool has room for, how many there are, and how many jobs and trials wait; `{"slots": N}` sets the first, from now on. |
| `GET /turnout/pools`, `GET /turnout/pools/{name}` | Pools, with their slots, nodes, and how many jobs and trials wait; `PUT /turnout/slots` takes a `pool`. |
| `GET /turnout/pools/{name}/drills` | What harm can be done to its nodes on purpose, and by whom. |
| `PUT /turnout/pools/{name}`, `DELETE /turnout/pools/{name}` | Adds what `pools.yaml` is to say of a pool (its keys, as JSON), to the file and to the server; takes it away. |
| `POST /turnout/pools/reload` | Takes `pools.yaml` as it is now. |
| `POST /turnout/pools/check` | Reads `pools.yaml` as it is now: what a reload would change, what the machines are like (`pool`: of one), and what the providers answer. |
| `GET /turnout/capabilities` | What each type of compute can do, on Azure and here. |
| `GET /turnout/workspace` | The workspace that is meant where none is named: the oldest. |
| `GET /turnout/space`, `POST /turnout/prune` | What takes how much space; its removal. |
| `POST /turnout/drain`, `POST /turnout/resume` | Begins nothing new and stops when what runs has ended; takes that back. |
| `GET /turnout/me` | Who asks: name, roles, limits of the token. |
| `/turnout/users`, `/turnout/roles`, `/turnout/assignments`, `/turnout/tokens` | People, roles, who has which, tokens: what `turnout user`, `role` and `token` show and change. |
| `POST /turnout/shutdown` | Stops; with `?all=true` when everything is ended and canceled. |

Properties of a job besides `turnout.ledger.*`: `turnout.waiting_for`, `turnout.place_in_queue`,
`turnout.expected_start`, `turnout.attempts`, `turnout.preemptions`, `turnout.node`, `turnout.cause`,
`turnout.exit_code`, `turnout.peak_memory_bytes`, `turnout.reason` (why it was canceled, what of
its outputs or its log is missing, or why a sweep has no best trial).

)";

inline constexpr const char* kCommandLine = R"(# The command line

`turnout NOUN VERB` with the nouns and verbs of `az ml`. A name goes after `-n` or stands alone: `turnout job show
NAME`. `--set` overrides one value, `--set resources.shm_size=2g`; after `tags.` and `properties.` the rest is one
name, points and all. `turnout NOUN VERB --help` tells the options.

## At the prompt

`source <(turnout completion bash)` (zsh alike; `turnout completion fish | source`) has Tab complete commands,
options, their values, and the names of jobs, computes and whatever else the server knows. `cmake --install build`
puts these scripts and the manual page `turnout(1)` where shells and `man` look for them.

## Exit codes

| code | meaning |
|---|---|
| 0 | It was done. |
| 1 | A drill did not pass; a compute breaks what it claims (`turnout verify`); a job ended badly without an exit code of its own; output could not be written. |
| 2 | What was asked for is not right: an option, a file, a value. The text names the place and what was expected. |
| 3 | There is no such job, compute, asset …, or (`turnout status`) no server that runs. |
| 4 | The name exists with another definition, or somebody else changed it. |
| 5 | Not in this state: no server has run here, the job has not ended. |
| 6 | The key is wrong, or it may not do this. |
| 7 | A limit is reached. |
| 8 | The server does not answer. |
| 70 | An error of Turnout itself. |
| 130 | Ctrl-C. A followed job goes on. |
| 141 | Nobody reads the output any more (`turnout job list \| head`). |

`job create --stream` and `job stream` end with the exit code of the job's command: 143 (128 + SIGTERM) if it was
stopped while it ran, by a cancel or its time limit; 1 if it failed or was canceled before it ran.

)";

}  // namespace turnout::cli
