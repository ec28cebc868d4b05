#include "cc/core/dynamic_library.h"

#include <stdexcept>
#include <string>

#include "gtest/gtest.h"

namespace tf_ls {
namespace {

TEST(DynamicLibraryTest, OpensTheFirstThatIsThere) {
  const DynamicLibrary library({"libsurely_missing.so.1", "libm.so.6"});
  double (*cosine)(double) = nullptr;
  library.Load("cos", &cosine);
  EXPECT_EQ(cosine(0.0), 1.0);
}

TEST(DynamicLibraryTest, NamesWhatItTried) {
  try {
    const DynamicLibrary library({"libmissing.so.2", "libmissing.so.1"});
    FAIL() << "opened a library that is not there";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("libmissing.so.2 or libmissing.so.1"),
              std::string::npos);
  }
}

TEST(DynamicLibraryTest, NamesTheMissingFunction) {
  const DynamicLibrary library({"libm.so.6"});
  void (*function)() = nullptr;
  try {
    library.Load("no_such_function", &function);
    FAIL() << "found a function that is not there";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "libm.so.6 has no function no_such_function");
  }
}

}  // namespace
}  // namespace tf_ls
