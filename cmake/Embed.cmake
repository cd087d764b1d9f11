# dvlm_embed_page(TARGET FILES...): compiles files into a target as dvlm::page_files() (src/server/page.h). They are
# served under their names, so no two may have the same. dvlm_embed_text(TARGET FUNCTION FILE) compiles one into a
# target as what dvlm::FUNCTION() returns. The same file, run as a script, writes the sources.
if(CMAKE_SCRIPT_MODE_FILE AND FUNCTION)
  file(READ ${FILES} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  file(WRITE ${OUTPUT} "// Written by cmake/Embed.cmake.
#include <string_view>

namespace dvlm {

std::string_view ${FUNCTION}();
std::string_view ${FUNCTION}() {
  static constexpr unsigned char kText[] = {${bytes}};
  return {reinterpret_cast<const char*>(kText), sizeof kText};
}

}  // namespace dvlm
")
  return()
endif()
if(CMAKE_SCRIPT_MODE_FILE)
  set(arrays "")
  set(table "")
  set(index 0)
  foreach(file ${FILES})
    get_filename_component(name ${file} NAME)
    file(SHA256 ${file} hash)
    string(SUBSTRING ${hash} 0 32 hash)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
    string(APPEND arrays "constexpr unsigned char kFile${index}[] = {${bytes}};\n")
    string(APPEND table "    {\"${name}\", \"\\\"${hash}\\\"\", kFile${index}, sizeof kFile${index}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  file(WRITE ${OUTPUT} "// Written by cmake/Embed.cmake.
#include \"server/page.h\"

namespace dvlm {

namespace {
${arrays}
constexpr PageFile kFiles[] = {
${table}};
}  // namespace

std::span<const PageFile> page_files() {
  return kFiles;
}

}  // namespace dvlm
")
  return()
endif()

set(DVLM_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(dvlm_embed_page TARGET)
  set(output ${CMAKE_BINARY_DIR}/embedded/page_files.cpp)
  add_custom_command(OUTPUT ${output}
                     COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} "-DFILES=${ARGN}" -P ${DVLM_EMBED_SCRIPT}
                     DEPENDS ${ARGN} ${DVLM_EMBED_SCRIPT}
                     COMMENT "Embedding the page" VERBATIM)
  target_sources(${TARGET} PRIVATE ${output})
endfunction()

function(dvlm_embed_text TARGET FUNCTION FILE)
  set(output ${CMAKE_BINARY_DIR}/embedded/${FUNCTION}.cpp)
  add_custom_command(OUTPUT ${output}
                     COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DFUNCTION=${FUNCTION} -DFILES=${FILE}
                             -P ${DVLM_EMBED_SCRIPT}
                     DEPENDS ${FILE} ${DVLM_EMBED_SCRIPT}
                     COMMENT "Embedding ${FILE}" VERBATIM)
  target_sources(${TARGET} PRIVATE ${output})
endfunction()
