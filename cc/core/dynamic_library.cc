#include "cc/core/dynamic_library.h"

#include <dlfcn.h>

#include <stdexcept>

namespace tf_ls {

DynamicLibrary::DynamicLibrary(const std::vector<std::string>& names) {
  for (const int only_if_loaded : {RTLD_NOLOAD, 0}) {
    for (const std::string& name : names) {
      handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | only_if_loaded);
      if (handle_ == nullptr) continue;
      name_ = name;
      return;
    }
  }
  std::string tried;
  for (const std::string& name : names) tried += (tried.empty() ? "" : " or ") + name;
  throw std::runtime_error(tried + " was not found, and the GPU needs it: " + dlerror());
}

void* DynamicLibrary::Symbol(const char* name) const {
  void* const symbol = dlsym(handle_, name);
  if (symbol == nullptr) throw std::runtime_error(name_ + " has no function " + name);
  return symbol;
}

}  // namespace tf_ls
