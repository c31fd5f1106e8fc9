from tests.bench import simc

simc.main()
