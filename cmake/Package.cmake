# cpack -G DEB in a build folder: the program, its model, libdvlm, the unit of systemd, the manual page and what bash
# completes.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME dvlm)
set(CPACK_PACKAGE_CONTACT "dvlm's maintainers <maintainers@dvlm.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Runs, serves, quantizes and evaluates Fast-dVLM: models that answer questions
about pictures and write a block of tokens per pass, losslessly.")
include(CPack)
