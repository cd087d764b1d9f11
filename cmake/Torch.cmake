# LibTorch from the PyTorch wheel. DVLM_TORCH_PYTHON names the interpreter that has it.
set(DVLM_TORCH_PYTHON "${CMAKE_SOURCE_DIR}/.venv/bin/python" CACHE FILEPATH "Python with torch installed")
execute_process(COMMAND ${DVLM_TORCH_PYTHON} -c "import torch;print(torch.utils.cmake_prefix_path)"
                OUTPUT_VARIABLE torch_prefix OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
if(failed)
  message(FATAL_ERROR "DVLM_TORCH is ON but ${DVLM_TORCH_PYTHON} cannot import torch; "
                      "run './dev setup' or set -DDVLM_TORCH_PYTHON=<python with torch==2.13.0>")
endif()
list(APPEND CMAKE_PREFIX_PATH ${torch_prefix})
find_package(Torch REQUIRED)

# The wheel carries its own fmt beside its headers; the rooms must see the one that they are linked with.
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
find_path(DVLM_FMT_INCLUDE fmt/core.h PATHS ${fmt_include} NO_DEFAULT_PATH REQUIRED)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/own_fmt)
file(CREATE_LINK ${DVLM_FMT_INCLUDE}/fmt ${CMAKE_BINARY_DIR}/own_fmt/fmt SYMBOLIC)

# at::parallel_for is a template: without OpenMP its body would run on one thread here.
find_package(OpenMP REQUIRED)

# ccache keeps what is compiled against a precompiled header only when told that defines and __TIME__ in it do not matter.
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
endif()

# One precompiled <torch/torch.h> for every target that uses it. The warning flags of dvlm_flags may differ
# between it and its users, code generation flags may not.
add_library(dvlm_torch_pch OBJECT ${CMAKE_CURRENT_LIST_DIR}/torch_pch.cpp)
target_link_libraries(dvlm_torch_pch PUBLIC torch OpenMP::OpenMP_CXX)
target_include_directories(dvlm_torch_pch SYSTEM BEFORE PUBLIC ${CMAKE_BINARY_DIR}/own_fmt)
target_precompile_headers(dvlm_torch_pch PRIVATE <torch/torch.h>)

function(dvlm_use_torch TARGET)
  target_link_libraries(${TARGET} PUBLIC torch OpenMP::OpenMP_CXX)
  target_include_directories(${TARGET} SYSTEM BEFORE PUBLIC ${CMAKE_BINARY_DIR}/own_fmt)
  target_precompile_headers(${TARGET} REUSE_FROM dvlm_torch_pch)
endfunction()
