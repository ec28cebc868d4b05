"""The server behind `tf-ls serve`: docs/serving.md.

rest, grpc_service    protocols: a request is read, handed to the predictor, its answer written
predictor             one prediction: a version of a model, limits, a deadline
generation            what tf_ls exported: requests as sentences that share batches
batcher, batch_queue  which sentences are computed together, and when
model_store           models and versions in a folder; loaded_model is one of them
server                starts and stops all of it
"""
