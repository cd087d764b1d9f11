# cmake --install: the program, its default model, libdvlm with a CMake package (find_package(dvlm)), and what a system
# wants beside a program.
include(CMakePackageConfigHelpers)
install(TARGETS dvlm RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS dvlm_api EXPORT dvlm LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/dvlm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT dvlm NAMESPACE dvlm:: FILE dvlmConfig.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/dvlm)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/dvlmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/dvlmConfigVersion.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/dvlm)
if(EXISTS ${CMAKE_SOURCE_DIR}/models/dvlm-tiny)
  install(DIRECTORY models/dvlm-tiny DESTINATION ${CMAKE_INSTALL_DATADIR}/dvlm/models)
endif()
install(FILES packaging/dvlm.service DESTINATION lib/systemd/system)
install(FILES packaging/dvlm.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES packaging/dvlm.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME dvlm)
install(FILES ${CMAKE_BINARY_DIR}/dvlm.spdx.json DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)  # packaging/sbom.py
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
include(Package)
