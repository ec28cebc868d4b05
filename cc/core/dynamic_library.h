#ifndef TF_LS_CC_CORE_DYNAMIC_LIBRARY_H_
#define TF_LS_CC_CORE_DYNAMIC_LIBRARY_H_

#include <string>
#include <vector>

namespace tf_ls {

// A shared library that is opened when it is first needed and stays open. Of several file names,
// one that the process has loaded already is preferred (TensorFlow's copy), then the first that can
// be opened.
class DynamicLibrary {
 public:
  // Throws std::runtime_error, naming what was tried, if none can be opened.
  explicit DynamicLibrary(const std::vector<std::string>& names);

  // Throws std::runtime_error if the library has no such function.
  template <typename Function>
  void Load(const char* name, Function** function) const {
    *function = reinterpret_cast<Function*>(Symbol(name));
  }

 private:
  void* Symbol(const char* name) const;

  std::string name_;
  void* handle_ = nullptr;
};

}  // namespace tf_ls

#endif  // TF_LS_CC_CORE_DYNAMIC_LIBRARY_H_
