from multipath_gcn.cli import main

main()
