#ifndef TF_LS_CC_CORE_MULTIVERSION_H_
#define TF_LS_CC_CORE_MULTIVERSION_H_

// Compiles a function for several generations of x86 processors; the loader picks the one that fits
// the machine. (A function attribute cannot come from a template.) Sanitizers do not survive the
// picking so early in the process.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TF_LS_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TF_LS_MULTIVERSION
#endif

// What a multiversioned function calls must be part of it, or it is compiled for the oldest
// processor only.
#define TF_LS_INLINE inline __attribute__((always_inline))

#endif  // TF_LS_CC_CORE_MULTIVERSION_H_
