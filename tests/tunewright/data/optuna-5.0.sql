BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'one');
INSERT INTO "studies" VALUES(2,'two');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',2,0);
INSERT INTO "study_directions" VALUES(3,'MAXIMIZE',2,1);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,2,'study:metric_names','["loss", "speed"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'team','"search"');
INSERT INTO "study_user_attributes" VALUES(2,1,'about','"a longer text with blanks"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,0,2.00046568046379213967e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,1,1.50046568046379191763e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,2,1.33379901379712517694e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,1,3,1.25046568046379191763e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,2,0,6.00024112537061515837e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,2,1,5.50024112537061515837e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,2,2,5.33357445870394819564e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,2,3,5.25024112537061515837e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,3,0,6.00001286916510778723e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,3,1,5.50001286916510778723e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,3,2,5.33334620249844082451e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,3,3,5.25001286916510778723e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,5,0,2.00004778831065888056e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,5,1,1.50004778831065865851e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,6,0,1.00001828363420983689e+01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,6,1,9.50018283634209836918e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,6,2,9.33351616967543229463e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,6,3,9.25018283634209836918e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(19,7,0,6.01435877247343420037e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(20,7,1,5.51435877247343420037e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(21,7,2,5.34769210580676723765e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(22,7,3,5.26435877247343420037e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(23,8,0,4.00001195274987431105e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(24,8,1,3.50001195274987475514e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(25,8,2,3.3333452860832082365e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(26,8,3,3.25001195274987475514e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(27,9,0,8.00003862907418472616e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(28,9,1,7.50003862907418472616e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(29,9,2,7.33337196240751776343e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(30,9,3,7.25003862907418472616e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(31,10,0,6.00139182817474825526e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(32,10,1,5.50139182817474825526e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(33,11,0,2.01696544106449948685e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(34,11,1,1.51696544106449948685e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(35,11,2,1.35029877439783274617e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(36,11,3,1.26696544106449948685e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(37,12,0,4.00312384033506063474e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(38,12,1,3.50312384033506,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(39,12,2,3.33645717366839367201e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(40,12,3,3.25312384033506,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(41,13,0,2.0045057385866016375e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(42,13,1,1.5045057385866016375e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(43,13,2,1.33783907191993489682e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(44,13,3,1.2545057385866016375e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(45,14,0,2.04106937391292930783e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(46,14,1,1.54106937391292952987e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(47,14,2,1.37440270724626278919e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(48,14,3,1.29106937391292952987e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(49,15,0,8.0002685833213,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(50,15,1,7.50026858332130164086e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(51,16,0,1.00000489059875974362e+01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(52,16,1,9.50004890598759743625e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(53,16,2,9.3333822393209313617e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(54,16,3,9.25004890598759743625e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(55,17,0,2.00701615273295530528e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(56,17,1,1.50701615273295552732e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(57,17,2,1.34034948606628878664e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(58,17,3,1.25701615273295552732e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(59,18,0,1.00014299612122350426e+01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(60,18,1,9.50142996121223504246e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(61,18,2,9.33476329454556896791e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(62,18,3,9.25142996121223504246e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(63,19,0,1.00017543687266954324e+01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(64,19,1,9.5017543687266954322e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(65,19,2,9.33508770206003,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(66,19,3,9.2517543687266954322e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(67,20,0,2.00973837672309096902e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(68,20,1,1.50973837672309096902e+00,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'lr',4.65680463791956554368e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(3,1,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(4,1,'width',27.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(5,1,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(6,2,'lr',2.41125370614757544678e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(7,2,'drop',0.2,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(8,2,'layers',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(9,2,'width',44.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(10,2,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(11,3,'lr',1.28691651078150220022e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(12,3,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(13,3,'layers',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(14,3,'width',79.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(15,3,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(16,4,'lr',0.0746528346269155,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(17,4,'drop',0.1,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(18,4,'layers',7.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(19,4,'width',304.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(20,4,'kind',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(21,5,'lr',4.77883106585769851237e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(22,5,'drop',0.5,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(23,5,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(24,5,'width',44.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(25,5,'kind',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(26,6,'lr',1.82836342098445324812e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(27,6,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(28,6,'layers',9.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(29,6,'width',8.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(30,6,'kind',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(31,6,'beta',8.55808354420816708163e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(32,7,'lr',1.43587724734346132426e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(33,7,'drop',0.0,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(34,7,'layers',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(35,7,'width',348.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(36,7,'kind',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(37,8,'lr',1.19527498747768835872e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(38,8,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(39,8,'layers',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(40,8,'width',23.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(41,8,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(42,9,'lr',3.8629074184943221551e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(43,9,'drop',3.00000000000000044408e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(44,9,'layers',7.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(45,9,'width',12.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(46,9,'kind',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(47,9,'beta',8.09940738330271359224e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(48,10,'lr',1.39182817474848056181e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(49,10,'drop',3.00000000000000044408e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(50,10,'layers',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(51,10,'width',406.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(52,10,'kind',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(53,10,'beta',0.827715993102901,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(54,11,'lr',1.69654410644994903256e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(55,11,'drop',0.2,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(56,11,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(57,11,'width',377.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(58,11,'kind',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(59,11,'beta',9.75777912149956128118e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(60,12,'lr',3.12384033506022751672e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(61,12,'drop',0.4,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(62,12,'layers',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(63,12,'width',23.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(64,12,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(65,13,'lr',4.50573858660155510819e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(66,13,'drop',3.00000000000000044408e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(67,13,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(68,13,'width',414.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(69,13,'kind',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(70,13,'beta',8.4716836906836257004e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(71,14,'lr',0.0410693739129295,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(72,14,'drop',3.00000000000000044408e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(73,14,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(74,14,'width',102.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(75,14,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(76,15,'lr',2.6858332130184041234e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(77,15,'drop',0.5,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(78,15,'layers',7.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(79,15,'width',8.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(80,15,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(81,16,'lr',4.89059875971244211378e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(82,16,'drop',0.0,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(83,16,'layers',9.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(84,16,'width',142.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(85,16,'kind',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(86,16,'beta',9.83681882573750221432e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.8, "high": 0.999, "log": false}}');
INSERT INTO "trial_params" VALUES(87,17,'lr',7.0161527329555342658e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(88,17,'drop',0.0,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(89,17,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(90,17,'width',8.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(91,17,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(92,18,'lr',1.42996121223496288656e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(93,18,'drop',3.00000000000000044408e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(94,18,'layers',9.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(95,18,'width',13.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(96,18,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(97,19,'lr',1.7543687266950108803e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(98,19,'drop',0.0,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(99,19,'layers',9.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(100,19,'width',20.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(101,19,'kind',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(102,20,'lr',9.73837672309103667689e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(103,20,'drop',3.00000000000000044408e-01,'{"name": "FloatDistribution", "attributes": {"step": 0.1, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(104,20,'layers',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 2, "low": 1, "high": 9}}');
INSERT INTO "trial_params" VALUES(105,20,'width',10.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 512}}');
INSERT INTO "trial_params" VALUES(106,20,'kind',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["sgd", "adam", null]}}');
INSERT INTO "trial_params" VALUES(107,22,'x',-0.165955990594852,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(108,22,'y',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(109,23,'x',-9.99771250365310226726e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(110,23,'y',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(111,24,'x',-7.0648821836577391231e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(112,24,'y',0.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(113,25,'x',-6.2747957724465819318e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(114,25,'y',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(115,26,'x',-2.0646505153866012705e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(116,26,'y',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(117,27,'x',-1.61610971193410390966e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(118,27,'y',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(119,28,'x',-5.91095500536965134941e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(120,28,'y',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(121,29,'x',-9.45224813604147673373e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(122,29,'y',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(123,30,'x',-1.65390395265746059649e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(124,30,'y',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(125,31,'x',-7.1922612280953246433e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(126,31,'y',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(127,32,'x',6.01489137351073344106e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(128,32,'y',5.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
INSERT INTO "trial_params" VALUES(129,33,'x',-3.73151643681514322281e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": -1.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(130,33,'y',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 5}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,21,'fixed_params','{"lr": 0.01}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'seen','0');
INSERT INTO "trial_user_attributes" VALUES(2,2,'seen','1');
INSERT INTO "trial_user_attributes" VALUES(3,3,'seen','2');
INSERT INTO "trial_user_attributes" VALUES(4,4,'seen','3');
INSERT INTO "trial_user_attributes" VALUES(5,5,'seen','4');
INSERT INTO "trial_user_attributes" VALUES(6,6,'seen','5');
INSERT INTO "trial_user_attributes" VALUES(7,7,'seen','6');
INSERT INTO "trial_user_attributes" VALUES(8,8,'seen','7');
INSERT INTO "trial_user_attributes" VALUES(9,9,'seen','8');
INSERT INTO "trial_user_attributes" VALUES(10,10,'seen','9');
INSERT INTO "trial_user_attributes" VALUES(11,11,'seen','10');
INSERT INTO "trial_user_attributes" VALUES(12,12,'seen','11');
INSERT INTO "trial_user_attributes" VALUES(13,13,'seen','12');
INSERT INTO "trial_user_attributes" VALUES(14,14,'seen','13');
INSERT INTO "trial_user_attributes" VALUES(15,15,'seen','14');
INSERT INTO "trial_user_attributes" VALUES(16,16,'seen','15');
INSERT INTO "trial_user_attributes" VALUES(17,17,'seen','16');
INSERT INTO "trial_user_attributes" VALUES(18,18,'seen','17');
INSERT INTO "trial_user_attributes" VALUES(19,19,'seen','18');
INSERT INTO "trial_user_attributes" VALUES(20,20,'seen','19');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,1.00046568046379191763e+00,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,5.00024112537061515837e+00,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,5.00001286916510778723e+00,'FINITE');
INSERT INTO "trial_values" VALUES(4,5,0,1.50004778831065865851e+00,'FINITE');
INSERT INTO "trial_values" VALUES(5,6,0,9.00018283634209836918e+00,'FINITE');
INSERT INTO "trial_values" VALUES(6,7,0,5.01435877247343420037e+00,'FINITE');
INSERT INTO "trial_values" VALUES(7,8,0,3.00001195274987475514e+00,'FINITE');
INSERT INTO "trial_values" VALUES(8,9,0,7.00003862907418472616e+00,'FINITE');
INSERT INTO "trial_values" VALUES(9,10,0,5.50139182817474825526e+00,'FINITE');
INSERT INTO "trial_values" VALUES(10,11,0,1.01696544106449948685e+00,'FINITE');
INSERT INTO "trial_values" VALUES(11,12,0,3.00312384033506,'FINITE');
INSERT INTO "trial_values" VALUES(12,13,0,1.0045057385866016375e+00,'FINITE');
INSERT INTO "trial_values" VALUES(13,14,0,1.04106937391292952987e+00,'FINITE');
INSERT INTO "trial_values" VALUES(14,15,0,7.50026858332130164086e+00,'FINITE');
INSERT INTO "trial_values" VALUES(15,16,0,9.00004890598759743625e+00,'FINITE');
INSERT INTO "trial_values" VALUES(16,17,0,1.00701615273295552732e+00,'FINITE');
INSERT INTO "trial_values" VALUES(17,18,0,9.00142996121223504246e+00,'FINITE');
INSERT INTO "trial_values" VALUES(18,19,0,9.0017543687266954322e+00,'FINITE');
INSERT INTO "trial_values" VALUES(19,20,0,1.50973837672309096902e+00,'FINITE');
INSERT INTO "trial_values" VALUES(20,22,0,-0.165955990594852,'FINITE');
INSERT INTO "trial_values" VALUES(21,22,1,4.0,'FINITE');
INSERT INTO "trial_values" VALUES(22,23,0,-9.99771250365310226726e-01,'FINITE');
INSERT INTO "trial_values" VALUES(23,23,1,1.0,'FINITE');
INSERT INTO "trial_values" VALUES(24,24,0,-7.0648821836577391231e-01,'FINITE');
INSERT INTO "trial_values" VALUES(25,24,1,0.0,'FINITE');
INSERT INTO "trial_values" VALUES(26,25,0,-6.2747957724465819318e-01,'FINITE');
INSERT INTO "trial_values" VALUES(27,25,1,2.0,'FINITE');
INSERT INTO "trial_values" VALUES(28,26,0,-2.0646505153866012705e-01,'FINITE');
INSERT INTO "trial_values" VALUES(29,26,1,3.0,'FINITE');
INSERT INTO "trial_values" VALUES(30,27,0,-1.61610971193410390966e-01,'FINITE');
INSERT INTO "trial_values" VALUES(31,27,1,4.0,'FINITE');
INSERT INTO "trial_values" VALUES(32,28,0,-5.91095500536965134941e-01,'FINITE');
INSERT INTO "trial_values" VALUES(33,28,1,5.0,'FINITE');
INSERT INTO "trial_values" VALUES(34,29,0,-9.45224813604147673373e-01,'FINITE');
INSERT INTO "trial_values" VALUES(35,29,1,4.0,'FINITE');
INSERT INTO "trial_values" VALUES(36,30,0,-1.65390395265746059649e-01,'FINITE');
INSERT INTO "trial_values" VALUES(37,30,1,3.0,'FINITE');
INSERT INTO "trial_values" VALUES(38,31,0,-7.1922612280953246433e-01,'FINITE');
INSERT INTO "trial_values" VALUES(39,31,1,1.0,'FINITE');
INSERT INTO "trial_values" VALUES(40,32,0,6.01489137351073344106e-01,'FINITE');
INSERT INTO "trial_values" VALUES(41,32,1,5.0,'FINITE');
INSERT INTO "trial_values" VALUES(42,33,0,-3.73151643681514322281e-01,'FINITE');
INSERT INTO "trial_values" VALUES(43,33,1,4.0,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 07:20:45.050302','2026-11-25 07:20:45.268635');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 07:20:45.311833','2026-11-25 07:20:45.494913');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-25 07:20:45.539928','2026-11-25 07:20:45.769272');
INSERT INTO "trials" VALUES(4,3,1,'FAIL','2026-11-25 07:20:45.791503','2026-11-25 07:20:45.901692');
INSERT INTO "trials" VALUES(5,4,1,'PRUNED','2026-11-25 07:20:45.932314','2026-11-25 07:20:46.123675');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-25 07:20:46.146717','2026-11-25 07:20:46.313074');
INSERT INTO "trials" VALUES(7,6,1,'COMPLETE','2026-11-25 07:20:46.339209','2026-11-25 07:20:46.485663');
INSERT INTO "trials" VALUES(8,7,1,'COMPLETE','2026-11-25 07:20:46.503904','2026-11-25 07:20:46.685976');
INSERT INTO "trials" VALUES(9,8,1,'COMPLETE','2026-11-25 07:20:46.700897','2026-11-25 07:20:46.848984');
INSERT INTO "trials" VALUES(10,9,1,'PRUNED','2026-11-25 07:20:46.862834','2026-11-25 07:20:46.983235');
INSERT INTO "trials" VALUES(11,10,1,'COMPLETE','2026-11-25 07:20:46.995247','2026-11-25 07:20:47.156724');
INSERT INTO "trials" VALUES(12,11,1,'COMPLETE','2026-11-25 07:20:47.189031','2026-11-25 07:20:47.404448');
INSERT INTO "trials" VALUES(13,12,1,'COMPLETE','2026-11-25 07:20:47.445496','2026-11-25 07:20:47.540811');
INSERT INTO "trials" VALUES(14,13,1,'COMPLETE','2026-11-25 07:20:47.555398','2026-11-25 07:20:47.685167');
INSERT INTO "trials" VALUES(15,14,1,'PRUNED','2026-11-25 07:20:47.705851','2026-11-25 07:20:47.837840');
INSERT INTO "trials" VALUES(16,15,1,'COMPLETE','2026-11-25 07:20:47.852704','2026-11-25 07:20:47.995063');
INSERT INTO "trials" VALUES(17,16,1,'COMPLETE','2026-11-25 07:20:48.009969','2026-11-25 07:20:48.092297');
INSERT INTO "trials" VALUES(18,17,1,'COMPLETE','2026-11-25 07:20:48.101103','2026-11-25 07:20:48.216512');
INSERT INTO "trials" VALUES(19,18,1,'COMPLETE','2026-11-25 07:20:48.233631','2026-11-25 07:20:48.393745');
INSERT INTO "trials" VALUES(20,19,1,'PRUNED','2026-11-25 07:20:48.416182','2026-11-25 07:20:48.568772');
INSERT INTO "trials" VALUES(21,20,1,'WAITING',NULL,NULL);
INSERT INTO "trials" VALUES(22,0,2,'COMPLETE','2026-11-25 07:20:48.696548','2026-11-25 07:20:48.786336');
INSERT INTO "trials" VALUES(23,1,2,'COMPLETE','2026-11-25 07:20:48.820255','2026-11-25 07:20:48.888216');
INSERT INTO "trials" VALUES(24,2,2,'COMPLETE','2026-11-25 07:20:48.909765','2026-11-25 07:20:48.964349');
INSERT INTO "trials" VALUES(25,3,2,'COMPLETE','2026-11-25 07:20:48.978632','2026-11-25 07:20:49.042435');
INSERT INTO "trials" VALUES(26,4,2,'COMPLETE','2026-11-25 07:20:49.052553','2026-11-25 07:20:49.093178');
INSERT INTO "trials" VALUES(27,5,2,'COMPLETE','2026-11-25 07:20:49.118824','2026-11-25 07:20:49.208355');
INSERT INTO "trials" VALUES(28,6,2,'COMPLETE','2026-11-25 07:20:49.239499','2026-11-25 07:20:49.327600');
INSERT INTO "trials" VALUES(29,7,2,'COMPLETE','2026-11-25 07:20:49.362725','2026-11-25 07:20:49.442319');
INSERT INTO "trials" VALUES(30,8,2,'COMPLETE','2026-11-25 07:20:49.475632','2026-11-25 07:20:49.556803');
INSERT INTO "trials" VALUES(31,9,2,'COMPLETE','2026-11-25 07:20:49.583019','2026-11-25 07:20:49.621666');
INSERT INTO "trials" VALUES(32,10,2,'COMPLETE','2026-11-25 07:20:49.637791','2026-11-25 07:20:49.679248');
INSERT INTO "trials" VALUES(33,11,2,'COMPLETE','2026-11-25 07:20:49.692967','2026-11-25 07:20:49.742781');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
