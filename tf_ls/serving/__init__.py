"""The server behind `tf-ls serve`: docs/serving.md.

rest, grpc_service    protocols: a request is read, handed to the predictor, its answer written;
                      rest_stream: as events
predictor             one prediction: a version of a model, limits, a deadline
translation           what tf_ls exported: requests as sentences that share batches
continuation          the same of decoder-only models, whose tokens may be streamed; token_events
generation            what both have in common
batcher, batch_queue  which sentences are computed together, and when
model_store           models and versions in a folder; loaded_model is one of them;
                      version_labels: names of versions
server                starts and stops all of it
"""
