#ifndef TF_LS_THIRD_PARTY_SENTENCEPIECE_CONFIG_H_
#define TF_LS_THIRD_PARTY_SENTENCEPIECE_CONFIG_H_

// What SentencePiece's sources expect of their own build system.
#define VERSION "0.2.1"
#define PACKAGE "sentencepiece"
#define PACKAGE_STRING "sentencepiece"
#define INSTALL_DATADIR ""  // of the trainer's

#endif  // TF_LS_THIRD_PARTY_SENTENCEPIECE_CONFIG_H_
