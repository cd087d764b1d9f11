# LibTorch from the PyTorch wheel. DVLM_TORCH_PYTHON names the interpreter that has it. Without CUDA's gigabytes neither
# find_package(Torch) nor `import torch` works with a CUDA build of the wheel; its CPU half, which alone is linked here, does.
set(DVLM_TORCH_PYTHON "${CMAKE_SOURCE_DIR}/.venv/bin/python" CACHE FILEPATH "Python with torch installed")
execute_process(COMMAND ${DVLM_TORCH_PYTHON} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
                OUTPUT_VARIABLE torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT EXISTS "${torch}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "DVLM_TORCH is ON but ${DVLM_TORCH_PYTHON} has no PyTorch wheel; "
                      "run './dev setup' or set -DDVLM_TORCH_PYTHON=<python with torch==2.13.0>")
endif()
execute_process(COMMAND ldd ${torch}/lib/libtorch_cpu.so OUTPUT_VARIABLE needed)
if(needed MATCHES "([^ \t\n]+) => not found")
  message(FATAL_ERROR "LibTorch in ${torch} needs ${CMAKE_MATCH_1}, which is missing; run './dev setup' or install "
                      "the versions of nvidia-cuda-runtime and nvidia-cuda-cupti that this wheel was built for")
endif()

# The wheel carries its own fmt beside its headers; the rooms must see the one that they are linked with.
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
find_path(DVLM_FMT_INCLUDE fmt/core.h PATHS ${fmt_include} NO_DEFAULT_PATH REQUIRED)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/own_fmt)
file(CREATE_LINK ${DVLM_FMT_INCLUDE}/fmt ${CMAKE_BINARY_DIR}/own_fmt/fmt SYMBOLIC)

# at::parallel_for is a template: without OpenMP its body would run on one thread here.
find_package(OpenMP REQUIRED)

add_library(dvlm_libtorch INTERFACE)
target_include_directories(dvlm_libtorch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/own_fmt ${torch}/include
                                                          ${torch}/include/torch/csrc/api/include)
# The wheel is compiled with it, and the size of a class in its headers depends on it.
target_compile_definitions(dvlm_libtorch INTERFACE USE_DISTRIBUTED)
set(openmp OpenMP::OpenMP_CXX)
if(DVLM_SANITIZE STREQUAL "thread")
  # TSan does not see where OpenMP's threads meet: loops of ours run on one thread, those inside LibTorch on several.
  set(openmp ${OpenMP_CXX_LIBRARIES})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # for a fence in LibTorch's headers
    target_compile_options(dvlm_libtorch INTERFACE -Wno-tsan)
  endif()
endif()
target_link_libraries(dvlm_libtorch INTERFACE ${torch}/lib/libtorch_cpu.so ${torch}/lib/libc10.so ${openmp}
                                              ${CMAKE_DL_LIBS})

# ccache keeps what is compiled against a precompiled header only when told that defines and __TIME__ in it do not matter.
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
endif()

# One precompiled <torch/torch.h> for every target that uses it. The warning flags of dvlm_flags may differ
# between it and its users, code generation flags may not.
add_library(dvlm_torch_pch OBJECT ${CMAKE_CURRENT_LIST_DIR}/torch_pch.cpp)
target_link_libraries(dvlm_torch_pch PRIVATE dvlm_libtorch)
target_precompile_headers(dvlm_torch_pch PRIVATE <torch/torch.h>)

function(dvlm_use_torch TARGET)
  target_link_libraries(${TARGET} PUBLIC dvlm_libtorch)
  target_precompile_headers(${TARGET} REUSE_FROM dvlm_torch_pch)
endfunction()
